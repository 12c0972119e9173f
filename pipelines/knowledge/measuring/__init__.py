"""How well retrieval finds what is known to be right: questions, measures, statistics, page."""
