"""Web pages: what is on them, which element a query means, and the places where they come from."""
