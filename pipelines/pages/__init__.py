"""What pages and cards share: their templates' environments; and of HTML pages the look, and plots as SVG."""
