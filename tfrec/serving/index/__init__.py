"""How an export stores item vectors, and how it finds the best ones without reading all; `signatures` uses it."""
