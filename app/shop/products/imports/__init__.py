"""The import of a catalogue file.

`source` turns bytes into lines, `records` lines into fields, `rows` checks the fields, and `loader`
writes the rows to the database, all or nothing.
"""
