"""The site's entry: it judges a request, counts its caller, passes it on by the client."""
