"""The picture of a run: what a run directory holds, as one HTML file that needs nothing else.

`record` reads the directory, the modules beside it turn what it holds into plain values that a template can show (one
module for each part of the page), `page` puts them together and `render` fills in the template.
"""
