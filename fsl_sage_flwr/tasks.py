"""The registration: which kinds of tasks a run can name."""

from . import image_classification, language
from .task_registry import register_task

DEFAULT_TASK = image_classification.KIND.name

for _module in (image_classification, language):
    register_task(_module.KIND)
