"""Product images: from anybody's bytes to objects in a store, and their addresses on a page."""
