"""Chat templates for text tokenizers that bring none: Jinja, as `transformers` renders it."""

from __future__ import annotations

# LWM's prompt (arXiv 2402.08268): the question comes before the frames.
LWM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set rest = messages[1:] %}"
    "{% else %}You are a helpful assistant.{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if m.role == 'user' %} USER: {{ m.text }}{% if m.media %}{{ '\\n' + m.media }}{% endif %}"
    "{% elif m.role == 'assistant' %} ASSISTANT: {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('the roles are system (first), user and assistant, got ' + m.role) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The layout of question-answer documents (pipeline.text.qa), which models are trained on here.
DOCUMENTS = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content + '\\n' }}"
    "{% elif m.role == 'user' %}{% if m.media %}{{ m.media + '\\n' }}{% endif %}{{ 'USER: ' + m.text + '\\n' }}"
    "{% elif m.role == 'assistant' %}{{ 'ASSISTANT: ' + m.content + '\\n' }}"
    "{% else %}{{ raise_exception('the roles are system, user and assistant, got ' + m.role) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
