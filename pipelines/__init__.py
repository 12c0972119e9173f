"""The work itself: models, datasets, training, knowledge, chatbots and evaluation.

Nothing in here prints, asks or exits: stages return reports and send events through a
`Context`. Surfaces (`assistant`) import this package, never the other way round.
"""
