"""The paper's human study in a browser: a folder of pictures in, raters' votes, a table out.

`folder` writes a study, `design` reads it, `order` deals it to the raters, `votes` keeps what they
say, `booth` shows each of them only what is theirs, `server` is the door, `results` counts.
"""
