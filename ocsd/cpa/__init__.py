"""Call progress analysis of recordings: what a file was, how often such verdicts are right, and pictures of it."""
