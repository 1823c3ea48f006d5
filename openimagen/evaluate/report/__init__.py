"""One report of a model: `run` measures, `result` is what is kept, `table` and `page` show it."""
