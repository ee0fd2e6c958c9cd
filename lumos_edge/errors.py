"""Every exception that lumos-edge raises on purpose.

LumosError
├── UserFileError                 the user's files and switches
│   ├── ManifestError
│   ├── ModelNotFound
│   ├── ChecksumMismatch
│   ├── OfflineError
│   ├── DownloadError
│   ├── ToolPackError
│   ├── DatabaseError
│   ├── PageError
│   ├── CatalogueError
│   ├── PictureError
│   ├── TraceError
│   ├── AddressError
│   ├── McpError
│   └── KnowledgeError
│       ├── KnowledgeNotFound
│       ├── DamagedKnowledge
│       └── SourceError
├── ConversionError               trained weights that cannot become a GGUF file
│   ├── UnsupportedArchitecture
│   ├── VocabularyMismatch
│   ├── TruncatedFile
│   └── UnsafePickle
├── EngineError                   llama.cpp, the constraint engine, and servers of completions
│   ├── ModelLoadError
│   ├── AdapterMismatch
│   ├── GrammarError
│   ├── ContextWindowExceeded
│   ├── ServerError
│   ├── ClusterError
│   ├── Cancelled
│   └── Closed
├── StepError                     the model's or the world's fault
│   ├── ActionError
│   ├── ToolError
│   │   ├── ToolTimeout
│   │   ├── HostNotAllowed
│   │   ├── PageNotLoaded
│   │   ├── PageTooLarge
│   │   ├── StalePage
│   │   ├── ElementNotFound
│   │   └── Declined
│   ├── UndefinedResult
│   └── NoAnswer
└── BudgetExceeded                a limit that the user set
    ├── TooManySubgoals
    ├── TooManyActions
    ├── TooManyTokens
    ├── DeadlineExceeded
    └── RepeatedActions

A `StepError` is written into the step, told to the grounder for one retry and then to the planner; every
other error is raised to the caller. Misuse of the Python API is `TypeError` or `ValueError` at the call.
"""

from __future__ import annotations

from typing import ClassVar


class LumosError(Exception):
    """Anything that went wrong in lumos-edge; `hint` says what the user can do about it."""

    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 3


class UserFileError(LumosError):
    """A file, a switch or a download of the user's does not do."""


class ManifestError(UserFileError):
    """A model pack's manifest does not say what a manifest has to say."""

    hint = "compare it with the output of `lumos-edge models show nano --manifest`"


class ModelNotFound(UserFileError):
    """No model pack or model file of that name."""

    hint = "`lumos-edge models list` shows what there is"


class ChecksumMismatch(UserFileError):
    """A file's sha256 is not the one that its manifest promises."""

    hint = "remove it with `lumos-edge models rm` and pull it again"


class OfflineError(UserFileError):
    """The network is needed, and the user has switched it off."""

    hint = "run again without --offline and without LUMOS_EDGE_OFFLINE"


class DownloadError(UserFileError):
    """No source of a file could deliver it."""

    hint = "run the command again: it resumes where it stopped"


class ToolPackError(UserFileError):
    """A tool pack is not there or does not load."""

    hint = "`lumos-edge tools list` shows what there is"


class DatabaseError(UserFileError):
    """A database cannot be opened, or is more than can be asked."""

    hint = "expected a SQLite file; `sqlite3 FILE .schema` shows what is in it"


class PageError(UserFileError):
    """The page to begin with cannot be opened."""

    hint = "expected an HTML file, or an address that begins with http:// or https://"


class CatalogueError(UserFileError):
    """A shop's catalogue cannot be read."""

    hint = "expected a JSON list of products as WebShop publishes them (items_shuffle_1000.json)"


class PictureError(UserFileError):
    """A picture, or its caption, cannot be read."""


class TraceError(UserFileError):
    """A trace file does not hold a recorded run."""

    hint = "record one with `lumos-edge ask --trace FILE`"


class KnowledgeError(UserFileError):
    """A knowledge pack cannot be built or read."""


class KnowledgeNotFound(KnowledgeError):
    """No knowledge pack of that name."""

    hint = "`lumos-edge knowledge list` shows what there is"


class DamagedKnowledge(KnowledgeError):
    """A file is not a whole knowledge pack."""

    hint = "build it again with `lumos-edge knowledge build`"


class SourceError(KnowledgeError):
    """What a knowledge pack is to be built from cannot be read."""


class AddressError(UserFileError):
    """A server cannot listen where it should."""

    hint = "choose another one with --port; port 0 takes a free one"


class McpError(UserFileError):
    """An MCP server does not start, or offers what no action can express."""


class ConversionError(LumosError):
    """Trained weights cannot be converted as they are."""


class UnsupportedArchitecture(ConversionError):
    """llama.cpp, or this converter, cannot express the model's architecture."""

    hint = "ARCHITECTURE.md lists what can be converted"


class VocabularyMismatch(ConversionError):
    """The tokenizer and the embedding do not have the same tokens."""


class TruncatedFile(ConversionError):
    """A file ends before the data that it promises."""

    hint = "copy or download it again"


class UnsafePickle(ConversionError):
    """A PyTorch file holds more than tensors."""

    hint = "save the weights as safetensors: a pickle can run any program when it is loaded"


class EngineError(LumosError):
    """llama.cpp or the constraint engine refused."""


class ModelLoadError(EngineError):
    """A GGUF file could not be loaded."""

    hint = "a file of your own has to be a whole GGUF model; `lumos-edge models verify NAME` checks a pack's"


class AdapterMismatch(EngineError):
    """An adapter does not fit its base model."""

    hint = "an adapter runs only on the base model it was trained on"


class GrammarError(EngineError):
    """A grammar does not compile."""


class ContextWindowExceeded(EngineError):
    """The prompt and the tokens asked for do not fit into the context window."""

    hint = "shorten the question, or raise n_ctx"

    def __init__(self, n_tokens: int, n_ctx: int) -> None:
        super().__init__(f"{n_tokens} tokens are needed, the context window holds {n_ctx}")
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx


class ServerError(EngineError):
    """A server of completions cannot be reached, or does not answer as it should."""

    hint = "--server takes the address of llama-server, of vLLM or of `python -m llama_cpp.server`"


class ClusterError(EngineError):
    """A Ray cluster cannot be reached, or has no worker left."""

    hint = "`ray status --address ADDRESS` shows what a cluster has"


class Cancelled(EngineError):
    """The user cancelled the run."""

    exit_code = 130


class Closed(EngineError):
    """The agent was used after its `close`, or closed while it ran."""


class StepError(LumosError):
    """The model's or the world's fault: recorded in the step, and the run goes on."""

    exit_code = 1


class ActionError(StepError):
    """A text is not an action of the toolbox."""


class ToolError(StepError):
    """A tool could not do what the action asks."""


class ToolTimeout(ToolError):
    """A tool took longer than it may."""


class HostNotAllowed(ToolError):
    """A page leads to a host, an address or a file that the user has not allowed."""

    hint = "--allow-host HOST allows a host"


class PageNotLoaded(ToolError):
    """A server, a browser or a file did not give a page."""


class PageTooLarge(ToolError):
    """A page is longer, deeper or has more parts than can be read."""


class StalePage(ToolError):
    """The page is no longer the one that the action was written or the element chosen for."""


class ElementNotFound(ToolError):
    """Nothing on the page fits the query."""


class Declined(ToolError):
    """The user said no to an action."""


class UndefinedResult(StepError):
    """An action uses a result that no earlier action has set."""


class NoAnswer(StepError):
    """The run ended without an answer."""

    hint = "--trace FILE records every step"


class BudgetExceeded(LumosError):
    """A limit that the user set was reached before there was an answer."""

    exit_code = 4


class TooManySubgoals(BudgetExceeded):
    """The planner did not stop within its number of subgoals."""

    hint = "raise --max-subgoals"


class TooManyActions(BudgetExceeded):
    """The grounder asked for more actions than the run may execute."""

    hint = "raise --max-actions"


class TooManyTokens(BudgetExceeded):
    """The modules decoded more tokens than the run may spend."""

    hint = "raise --max-tokens"


class DeadlineExceeded(BudgetExceeded):
    """The run took longer than its time limit."""

    hint = "raise --timeout"


class RepeatedActions(BudgetExceeded):
    """The grounder repeated actions that were already executed."""

    hint = "a larger model pack repeats itself less"
