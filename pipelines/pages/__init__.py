"""What the HTML pages share: their look, their templates' environment, and plots as SVG."""
