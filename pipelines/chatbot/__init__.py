"""Chatbots: answer from documents, cite, refuse, remember."""
