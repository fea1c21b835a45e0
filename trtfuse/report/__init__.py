"""What was fused and what was not: as data, as JSON, as Markdown and on the terminal."""
