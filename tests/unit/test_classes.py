"""How the classes of a node's data differ from the run's."""

import pytest

from fsl_sage_flwr.classes import MOST_SENT, Classes

PETS = Classes(3, ("cat", "dog", "fish"))


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        (Classes(2, ("cat", "fish")), "its data lack 'dog'"),
        (Classes(4, ("ant", "cat", "dog", "fish")), "its data have 'ant', unknown to the run"),
        (Classes(3, ("cat", "cow", "fish")), "lack 'dog' and have 'cow', unknown to the run"),
        (Classes(3, ("dog", "cat", "fish")), "label 0 is 'dog' in its data and 'cat' in the run"),
        (Classes(2), "its data have 2 classes, the run has 3"),
        (Classes(9, tuple("abcdefghi")), "'a', 'b', 'c', 'd', 'e' and 4 more, unknown to the run"),
        (Classes(3, ("cat", "dog", "x" * 99)), f"have '{'x' * 40}…', unknown"),
    ],
)
def test_the_differing_classes_are_named(theirs: Classes, says: str) -> None:
    assert not theirs.agree_with(PETS.fingerprint)
    assert says in PETS.difference(Classes.from_texts(theirs.texts()))


@pytest.mark.parametrize("theirs", [PETS, Classes(3), Classes(3, ("0", "1", "2"))])
def test_equal_names_agree_and_so_do_equal_counts_without_names(theirs: Classes) -> None:
    assert theirs.agree_with(PETS.fingerprint)
    assert PETS.agree_with(theirs.fingerprint)


def test_names_that_are_too_long_to_send_are_not_sent() -> None:
    many = Classes(2, ("a" * MOST_SENT, "b"))
    assert many.texts() == ("2",)
    assert Classes(2, ("a", "b")).difference(Classes.from_texts(many.texts())) == (
        "its data have classes of other names than the run"
    )


def test_a_count_alone_takes_no_memory() -> None:
    assert Classes.from_texts(["1" + "0" * 15]).names == ()


@pytest.mark.parametrize("texts", [["many"], ["2", "a"]])
def test_texts_that_are_no_classes_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|1 names of 2 classes"):
        Classes.from_texts(texts)
