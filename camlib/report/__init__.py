"""Published numbers, results files, and how make turns notebooks into a report."""
