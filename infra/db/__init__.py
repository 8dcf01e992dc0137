"""Rows: one struct of `domain` is one table, on SQLite and on PostgreSQL, from one code.

`structs.py` derives the tables, `tables.py` lists them, one file per noun answers its port, `database.py` runs the actions.
"""
