"""The studio and its API: an engine that draws for many, HTTP around it."""
