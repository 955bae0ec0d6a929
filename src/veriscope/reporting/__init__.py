"""What is shown of results: pages, charts and movies."""
