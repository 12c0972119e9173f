"""How existing data is read, whatever its form."""
