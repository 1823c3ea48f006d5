"""Captioned images in: folders, pictures, and a stream of examples that resumes exactly."""
