"""Knowledge packs: passages of text in one SQLite file, built once, searched offline."""
