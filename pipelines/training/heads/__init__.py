"""Task heads on small models: sorting texts (classification) and finding pieces in them (NER)."""
