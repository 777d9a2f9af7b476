"""Makes the site of docs/: pages that are written by the code, and links into the repository.

Nothing of the product imports it. ``make docs`` builds the site; mkdocs.yml names the hook.
"""
