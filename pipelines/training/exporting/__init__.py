"""A trained adapter in the forms that other programs run, each compared with the original."""
