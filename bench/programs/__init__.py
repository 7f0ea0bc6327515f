"""What the benches of the data tier run inside the application's image: each says which operations
it has.
"""
