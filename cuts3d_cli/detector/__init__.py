"""The class-agnostic cascade detector; the only part of the package that imports MMDetection.

Importing this package registers our classes with MMDetection, after making its import safe for
processes that start together, giving mmcv-lite the compiled operators it lacks, and MMEngine what newer
Pythons lack.
"""

import os

# Threads that wait must sleep, not spin: on cores shared with other work, and with the processes that
# load data, spinning makes a training several times slower. Read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from cuts3d_cli.detector import mmcv_ops, mmengine_python, yapf_import

yapf_import.without_cache()
mmcv_ops.install()
mmengine_python.install()

from cuts3d_cli.detector import dataset, detectron2_compat, finetune, heads, losses, transforms  # noqa: E402, F401  (registers them)
