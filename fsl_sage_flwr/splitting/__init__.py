"""Cut a model in two, estimate the server's gradient, align the estimate."""

from .alignment import AlignmentQuality, AlignmentRecipe, align, compare_gradients
from .auxiliary import AuxiliaryHead, build_auxiliary
from .copying import copy_sharing_frozen
from .cuts import Cut, Workload, choose_cut, cut_of, forward_flops, list_cuts
from .double_backward import check_twice_differentiable, plain_attention
from .errors import SplitError
from .evaluation import Evaluation, evaluate
from .float16_steps import refuse_vanishing_eps
from .gradients import differentiable, estimated_gradients, true_gradients
from .half_pass import receive_smashed
from .inputs import Inputs, as_tensors
from .loss_check import problem_with_loss, problem_with_reduction, warn_of_more_scores
from .optimizer_state import flatten_state, restore_state
from .precision import autocast, set_up_gpu, to_device
from .private_steps import ClientPrivacy, check_private_steps, require_opacus
from .refusals import full_name
from .sample_gradients import forget_sample_gradients
from .sample_mixing import mixes_samples
from .smashed_dtypes import as_sent, cast_inputs, cast_to_parameters, float_dtypes
from .smashed_noise import Normal, add_noise, clip_samples, seeded_normal, unpredictable_normal
from .split_model import FrontAndTail, SplitModel, tail_of
from .splitter import split, split_pair
from .steps import (
    answer_step,
    answered_step,
    auxiliary_step,
    client_forward,
    client_step,
    estimated_step,
    server_step,
)
from .tail_cuts import cuts_before_tail
from .trainable_state import load_trainable_state, trainable_parameters, trainable_state

__all__ = [
    "AlignmentQuality",
    "AlignmentRecipe",
    "AuxiliaryHead",
    "ClientPrivacy",
    "Cut",
    "Evaluation",
    "FrontAndTail",
    "Inputs",
    "Normal",
    "SplitError",
    "SplitModel",
    "Workload",
    "add_noise",
    "align",
    "answer_step",
    "answered_step",
    "as_sent",
    "as_tensors",
    "autocast",
    "auxiliary_step",
    "build_auxiliary",
    "cast_inputs",
    "cast_to_parameters",
    "check_private_steps",
    "check_twice_differentiable",
    "choose_cut",
    "client_forward",
    "client_step",
    "clip_samples",
    "compare_gradients",
    "copy_sharing_frozen",
    "cut_of",
    "cuts_before_tail",
    "differentiable",
    "estimated_gradients",
    "estimated_step",
    "evaluate",
    "flatten_state",
    "float_dtypes",
    "forget_sample_gradients",
    "forward_flops",
    "full_name",
    "list_cuts",
    "load_trainable_state",
    "mixes_samples",
    "plain_attention",
    "problem_with_loss",
    "problem_with_reduction",
    "receive_smashed",
    "refuse_vanishing_eps",
    "require_opacus",
    "restore_state",
    "seeded_normal",
    "server_step",
    "set_up_gpu",
    "split",
    "split_pair",
    "tail_of",
    "to_device",
    "trainable_parameters",
    "trainable_state",
    "true_gradients",
    "unpredictable_normal",
    "warn_of_more_scores",
]
