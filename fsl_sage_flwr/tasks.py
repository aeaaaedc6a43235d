"""Register the package's kinds of tasks."""

from . import image_classification, language
from .task_registry import TASKS

DEFAULT_TASK = image_classification.KIND.name

for _module in (image_classification, language):
    TASKS.register(_module.KIND.name, _module.KIND)
