"""Product images: from an upload to objects in a store, and their URLs on a page."""
