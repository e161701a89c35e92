"""Chats: templates of published models, rendered to ids in which user content cannot become a special token."""
