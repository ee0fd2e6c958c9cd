"""A shop in WebShop's sense: a catalogue, the pages of one visit to it, and how a purchase is scored."""
