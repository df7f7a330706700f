"""Finished runs side by side: which are comparable, tables, figures, an HTML report."""
