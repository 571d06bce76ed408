"""The trained model behind an API, a page and a terminal command."""
