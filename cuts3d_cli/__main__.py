"""``python -m cuts3d_cli``: the ``cuts3d`` command."""

from cuts3d_cli.cli.main import main

if __name__ == "__main__":
    main()
