"""mmtool.late against dataclasses: what is compiled late is what would have been compiled at once."""

import copy
import dataclasses
import pickle
from dataclasses import field

import pytest

from mmtool import late

OPTIONS = [
    {}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}, {"eq": False}, {"repr": False},
    {"kw_only": True}, {"eq": False, "repr": False, "slots": True},
]  # fmt: skip


def twins(options):
    """One class made by each."""

    def bare():
        class Area:
            """An area."""

            start: int
            size: int = 4096
            names: list[str] = field(default_factory=list, hash=False)
            note: str = field(default="", repr=False, compare=False)
            end: int = field(init=False)
            taken: int = field(init=False, default=-1)

            def __post_init__(self):
                object.__setattr__(self, "end", self.start + self.size)

        return Area

    return dataclasses.dataclass(**options)(bare()), late.dataclass(**options)(bare())


def outcome(call):
    try:
        return call()
    except (TypeError, AttributeError) as e:
        return type(e), str(e).split(".")[-1].replace("__create_fn__<locals>", "")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("already", [0, late.SLOW_CALLS + 1], ids=["first", "compiled"])
def test_as_dataclasses_makes_them(options, already):
    theirs, ours = twins(options)
    for _ in range(already):
        ours(start=1)
    calls = [
        lambda c: c(start=1), lambda c: c(1), lambda c: c(1, 2), lambda c: c(1, size=3, names=["a"]), lambda c: c(),
        lambda c: c(1, start=1), lambda c: c(1, 2, ["a"], "n", 5), lambda c: c(start=1, end=2),
        lambda c: c(start=1, no=2), lambda c: c(note="n", names=["b"], size=7, start=9),
    ]  # fmt: skip
    for call in calls:
        one, other = outcome(lambda call=call: call(theirs)), outcome(lambda call=call: call(ours))
        if isinstance(one, theirs):
            assert isinstance(other, ours)
            assert {f.name: getattr(one, f.name) for f in dataclasses.fields(one)} == {
                f.name: getattr(other, f.name) for f in dataclasses.fields(other)
            }
            assert (repr(one) == repr(other)) is (options.get("repr", True))
        else:
            assert other[0] is one[0]
    for make in (lambda c: c(start=1), lambda c: c(start=2)):
        for other in (lambda c: c(start=1), lambda c: c(start=1, note="n"), lambda c: c(start=1, names=["x"])):
            assert (make(theirs) == other(theirs)) is (make(ours) == other(ours))
    assert (theirs.__hash__ is None) is (ours.__hash__ is None)
    if options.get("frozen"):
        assert hash(ours(1)) == hash(theirs(1)) == hash(ours(1, names=["x"]))
    assert theirs.__match_args__ == ours.__match_args__
    assert hasattr(theirs(start=1), "__dict__") is hasattr(ours(start=1), "__dict__")
    assert dataclasses.replace(ours(start=1), size=5).end == 6


def test_no_default_is_shared_that_can_be_changed():
    for dataclass in (dataclasses.dataclass, late.dataclass):
        with pytest.raises(ValueError, match="use default_factory"):
            dataclass(type("Area", (), {"__annotations__": {"names": "list[str]"}, "names": []}))


def test_each_object_has_its_own_list():
    _, ours = twins({})
    first, second = ours(1), ours(1)
    first.names.append("a")
    assert second.names == [] and ours(1).names == []


def test_a_class_that_defines_a_method_keeps_it():
    @late.dataclass(frozen=True)
    class Name:
        text: str

        def __repr__(self):
            return self.text

        def __hash__(self):
            return 7

    assert repr(Name("a")) == "a" and hash(Name("b")) == 7 and Name("c") == Name("c")


def test_the_fields_of_a_base_come_first():
    @late.dataclass(slots=True)
    class Base:
        a: int
        b: int = 2

    @late.dataclass(slots=True)
    class More(Base):
        c: int = 3

    for _ in range(late.SLOW_CALLS + 2):
        assert repr(More(1, c=5)).endswith("More(a=1, b=2, c=5)") and Base(1) == Base(1, 2) and Base(1) != More(1)


def test_dataclasses_makes_subclasses_of_them():
    @late.dataclass
    class Base:
        a: int
        b: list[int] = field(default_factory=list)

    @dataclasses.dataclass
    class More(Base):
        c: int = 3

    assert More(1) == More(1, [], 3) and [f.name for f in dataclasses.fields(More)] == ["a", "b", "c"]


@late.dataclass(frozen=True, slots=True)
class Sent:
    """One that a process can hand to another."""

    a: int
    b: tuple[int, ...] = ()


def test_they_are_copied_and_sent_to_other_processes():
    sent = Sent(1, (2, 3))
    assert pickle.loads(pickle.dumps(sent)) == copy.deepcopy(sent) == copy.copy(sent) == sent
