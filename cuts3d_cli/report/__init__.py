"""What people look at: the report page, pictures, tables, and the status of a run."""
