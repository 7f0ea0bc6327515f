"""Loading a catalogue from a file: source (bytes to lines), records (lines to fields), rows (fields
checked), loader (rows into the database, all or nothing).
"""
