"""Which column of a table is which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isoflop.errors import IsoflopError
from isoflop.sources.columns.aliases import candidates
from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.columns.expression import Formula, Product, Term, formula_of, read_product
from isoflop.sources.columns.missing_columns import ambiguous, lacks, lacks_renamed

REQUIRED = ("budget_flops", "n_params", "n_tokens", "loss")
OPTIONAL = ("loss_se", "trunk", "tokenizer", "param_count", "seed", "unique_tokens", "epochs")
# Those that are optional and found by another name where one column alone has such a name.
_REPEATS = ("unique_tokens", "epochs")
# Columns of numbers, which a product may give.
_NUMBERS = (*REQUIRED, "loss_se", "unique_tokens", "epochs")


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table, and those of them that are read.

    Attributes:
        header: the file's columns, in its order.
        chosen: by ours, the file's name of each column that is read, or the product or formula that gives it.
        matched: ours of those that were found by another name without being told.
        terms: what `chosen` means.
    """

    header: tuple[str, ...]
    chosen: Mapping[str, str]
    matched: tuple[str, ...] = ()
    terms: Mapping[str, Term] = field(default_factory=dict)

    @property
    def read(self) -> frozenset[str]:
        """The file's columns that are read."""
        products = (term for term in self.terms.values() if isinstance(term, Product))
        return frozenset(name for product in products for name in product.columns)

    @property
    def computed(self) -> dict[str, Formula]:
        """The columns that a formula gives."""
        return {ours: term for ours, term in self.terms.items() if isinstance(term, Formula)}


def choose_columns(
    header: Sequence[str],
    requests: Sequence[ColumnRequest],
    *,
    name: str,
    label: str | None = None,
    scores: bool = False,
) -> TableColumns:
    """Each column of ours as the first of `requests` that can be met asks, else by our name of it, else by an alias.

    `header` is that of the file `name`, in which a column that is there twice is listed twice; `label` is that of the
    source. An alias counts where one column alone can be meant, with `scores` one of a score; optional columns are read
    if there.

    Raises:
        IsoflopError: one that is needed is missing or may be several, or one that is read is there twice.
    """
    chosen = _requested(header, requests, name, label)
    terms = {ours: term for ours, (_, term) in chosen.items()}
    for ours in REQUIRED + OPTIONAL:
        # A score is asked for: what is named one comes before a loss.
        passed = ours == "loss" and scores and candidates(header, ours, scores=True)
        if ours not in terms and ours in header and not passed:
            terms[ours] = Product((ours,))
    matched = _matched(header, terms, name, scores=scores)
    terms |= {ours: Product((theirs,)) for ours, theirs in matched.items()}
    _refuse_missing(header, terms, requests, name)
    terms = {ours: terms[ours] for ours in REQUIRED + OPTIONAL if ours in terms}
    texts = {ours: chosen[ours][0] if ours in chosen else matched.get(ours, ours) for ours in terms}
    found = TableColumns(tuple(header), texts, tuple(matched), terms)
    twice = next((theirs for theirs in header if theirs in found.read and header.count(theirs) > 1), None)
    if twice is not None:
        raise IsoflopError(f"{name!r} names the column {twice} twice.", hint="Rename or remove one of the two.")
    return found


def _requested(
    header: Sequence[str], requests: Sequence[ColumnRequest], name: str, label: str | None
) -> dict[str, tuple[str, Term]]:
    """The columns that are asked for and can be had, with the text that asked; those of the source itself first.

    Raises:
        IsoflopError: the source's own request cannot be met.
    """
    chosen: dict[str, tuple[str, Term]] = {}
    own = [request for request in requests if request.label is not None and request.label == label]
    for request in (*own, *(request for request in requests if request.label is None)):
        term = term_of(request, header)
        if not isinstance(term, str):
            text = term.value if isinstance(term, Formula) else request.theirs
            chosen.setdefault(request.ours, (text, term))
    for request in own:
        if request.ours not in chosen:
            raise lacks_renamed(request, term_of(request, header), name, header)
    return chosen


def term_of(request: ColumnRequest, header: Sequence[str]) -> Term | str:
    """What the request means in a table of this header; the piece of it that the table does not have."""
    if request.theirs in header:
        return Product((request.theirs,))
    formula = formula_of(request.ours, request.theirs)
    if formula is not None:
        return formula
    if request.ours not in _NUMBERS:
        return request.theirs
    product = read_product(request.theirs, header)
    if isinstance(product, Product) and not product.columns and request.ours in ("loss", "loss_se"):
        return request.theirs  # a constant is no loss
    return product


def _matched(header: Sequence[str], terms: Mapping[str, Term], name: str, *, scores: bool) -> dict[str, str]:
    """The columns that are needed (or say what was repeated) and not chosen, under the one other name of each.

    A factor of a product may be a column of its own, too: `n_tokens=params*tokens_per_param`.

    Raises:
        IsoflopError: several that are needed may be meant.
    """
    products = [term for term in terms.values() if isinstance(term, Product) and len(term.columns) == 1]
    taken = [term.columns[0] for term in products]
    found: dict[str, str] = {}
    for ours in REQUIRED:
        if ours not in terms:
            may_be = candidates(header, ours, [*taken, *found.values()], scores=scores)
            if len(may_be) > 1:
                raise ambiguous(ours, may_be, name)
            if may_be:
                found[ours] = may_be[0]
    for ours in _REPEATS:
        may_be = [] if ours in terms else candidates(header, ours, [*taken, *found.values()])
        if len(may_be) == 1:
            found[ours] = may_be[0]
    return found


def _refuse_missing(
    header: Sequence[str], terms: Mapping[str, Term], requests: Sequence[ColumnRequest], name: str
) -> None:
    missing = [ours for ours in REQUIRED if ours not in terms]
    for ours in missing:
        for request in requests:
            if request.ours == ours and request.label is None:
                raise lacks_renamed(request, term_of(request, header), name, header)
    if missing:
        raise lacks(missing, name, header)
    formulas = [ours for ours, term in terms.items() if isinstance(term, Formula)]
    if len(formulas) > 1:
        raise IsoflopError(
            f"--column computes {' and '.join(formulas)}: C = 6 N D gives one of the three from the other two.",
            hint="Name a column of the file for all but one of them.",
        )
