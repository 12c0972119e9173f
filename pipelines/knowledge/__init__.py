"""Knowledge: documents in, the right passages out."""
