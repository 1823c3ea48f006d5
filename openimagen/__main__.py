"""`python -m openimagen`."""

from openimagen.cli import app

if __name__ == "__main__":
    app()
