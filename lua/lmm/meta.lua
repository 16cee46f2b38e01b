---@meta lmm.meta

--- The tables of options of the public face, for editors and for the reference: this file is never loaded. Those that
--- are not here stand beside what reads them: lmm.MapOptions, lmm.RetryOptions, lmm.Tool, lmm.ToolRules.
--- spec/reference_spec.lua holds them against what the library takes.

-- ---- clients

---@class lmm.ConnectOptions
---@field base_url string|(string|lmm.PoolEntry)[]|nil  where the API is, mostly ending in /v1; a list of servers
--- is a pool. $OPENAI_BASE_URL unless given, else http://127.0.0.1:8000/v1
---@field api_key string|(fun(): string?, string?)|nil  the key, or a function that gives one (or nil and why not),
--- asked for each attempt; "" for none. $OPENAI_API_KEY unless given
---@field model string?  the model to ask; the first that the server lists unless given
---@field headers table<string, string>?  more headers, by name
---@field timeout number|lmm.Timeouts|nil  seconds in all, or each limit
---@field retry lmm.Retry?  how often a call is tried; see lmm.retry
---@field proxy string|false|nil  a proxy's URL, or false for none; $http_proxy and its kin unless given
---@field tls lmm.TlsOptions?  whom to trust, and who we are
---@field unix_socket string?  the path of a socket, in place of TCP
---@field limits lmm.Limits?  what a reply may take
---@field user_agent string?  the header User-Agent; lmm/VERSION unless given
---@field dialect string|lmm.Dialect|nil  what the server is, a name or a table; found out unless given
---@field media_cache boolean?  false: media go whole in every turn; on where the server keeps media
---@field prices table<string, lmm.Price>?  by the model's name, for `reply.cost`
---@field log string|boolean|nil  the path of a log of all exchanges, or true for the usual one; none unless given
---@field log_media boolean?  keeps media beside the log, as files by their digests
---@field cache boolean?  the same request at temperature 0, or with a seed, is answered from the log: `reply.cached`

--- One server of several.
---@class lmm.PoolEntry
---@field url string  its base URL
---@field weight number?  how much it can do beside the others (1)
---@field dialect string|lmm.Dialect?  its own, where that is not found by itself
---@field api_key string|(fun(): string?, string?)|nil  as lmm.connect takes it, for this server alone
---@field headers table<string, string>?  over those of the client
---@field models string[]?  which it has; its list tells unless given

--- Limits of time, in seconds; math.huge is none.
---@class lmm.Timeouts
---@field connect number?  for DNS, TCP and TLS (10)
---@field first number?  until the first piece of the answer (600), so the whole generation of what is not streamed
---@field idle number?  between two pieces (120)
---@field total number?  for all attempts and the waits between them (none)

---@class lmm.TlsOptions
---@field ca string?  the file of the authorities to trust, PEM; the system's unless given
---@field cert string?  the file of our own certificate, PEM
---@field key string?  the file of its key, PEM
---@field verify boolean?  false: trust anybody

--- What a reply may take: whole numbers, or math.huge.
---@class lmm.Limits
---@field header integer?  bytes of the head of a reply (64 KiB)
---@field reply integer?  bytes of a reply (64 MiB)
---@field event integer?  bytes of an event of a stream (64 MiB)
---@field depth integer?  how deep its JSON may be nested (1000)
---@field calls integer?  tool calls in a reply (128)
---@field choices integer?  choices in a reply (128)
---@field error integer?  bytes of a server's words in a message (2000)

--- What a million tokens cost, in any currency.
---@class lmm.Price
---@field input number?  of prompts
---@field output number?  of answers

--- The options of every call.
---@class lmm.CallOptions
---@field timeout number|lmm.Timeouts|nil  what it names replaces the client's
---@field retry lmm.Retry?  in place of the client's
---@field headers table<string, string>?  more headers, over those of the client

---@class lmm.WaitOptions
---@field timeout number?  seconds (600)
---@field headers table<string, string>?
---@field any boolean?  of several servers: one that is ready will do
---@field on_wait (fun(seconds: number, err: lmm.Error): lmm.Error?)?  called after each try that found it not ready,
--- with the reason; an error that it returns ends the wait

---@class lmm.Model
---@field id string  its name
---@field owned_by string?  and whatever else the server tells
---@field max_model_len integer?  tokens of a prompt and its answer, where vLLM tells

---@class lmm.Response
---@field status integer
---@field headers table<string, string>  their names in small letters
---@field body string
---@field json any  the body decoded, where it is JSON

-- ---- requests

--- What is ours in a request. One of the four that say what the answer is to be may be given.
---@class lmm.RequestOptions : lmm.CallOptions
---@field schema table?  a JSON schema that the answer is to follow: `reply.value` holds it decoded
---@field choice string[]?  the answer is to be one of these, and `reply.value` is that one
---@field regex string?  a regular expression, as the server has them, that the answer is to match
---@field grammar string?  a grammar, as the server has them, that the answer is to follow

--- Fields of a request that most servers know. Every other name goes to the server, too, as it is.
---@class lmm.RequestFields
---@field model string?
---@field temperature number?
---@field top_p number?
---@field max_tokens integer?
---@field max_completion_tokens integer?
---@field seed integer?
---@field stop string|string[]|nil
---@field n integer?  how many choices
---@field tool_choice string|table|nil
---@field [string] any  whatever else the server takes, by its names

--- A request as the server takes it; parts may stand in it.
---@class lmm.Request : lmm.RequestFields
---@field messages table[]

---@class lmm.AskOptions : lmm.RequestOptions, lmm.ToolRules, lmm.RequestFields

---@class lmm.ConversationOptions : lmm.AskOptions
---@field system string?  the system message
---@field messages table[]?  what it begins with

---@class lmm.LoadOptions : lmm.AskOptions
---@field media table<string, string>?  where folders are now, by what they were

---@class lmm.SaveOptions
---@field inline boolean?  the bytes of all files go into it

---@class lmm.TrimOptions  one of both
---@field turns integer?  so many of the last turns stay
---@field tokens integer?  so many tokens stay at most

---@class lmm.ExportOptions
---@field media boolean?  false: a text stands for each medium

-- ---- parts

--- A text, a part, or a list of these.
---@alias lmm.Input string|lmm.Part|table

--- A text, tokens, or a list of these.
---@alias lmm.Prompt string|string[]|integer[]|integer[][]

--- The bytes of a medium, in place of a path.
---@class lmm.Bytes
---@field bytes string

--- A film of pictures of one size, each a path, bytes or an image part.
---@class lmm.Frames
---@field frames (string|lmm.Bytes|lmm.Part)[]
---@field fps number?  pictures in a second, for the server

---@class lmm.PartOptions
---@field mime string?  its type, which wins over what the bytes say
---@field check boolean?  false: sends what is refused for its bytes as it is
---@field uuid string?  of what the server has kept, in place of a source; goes to the server
---@field trust_uuid boolean?  sends a uuid of your own beside a source
---@field [string] any  goes to the server beside the source; one of ours misspelt by a letter is refused

--- Those from `max_side` on have the picture prepared when it is first sent, which needs lmm.vips (libvips).
---@class lmm.ImageOptions : lmm.PartOptions
---@field detail "low"|"high"|"auto"|nil  for the server, as OpenAI has it
---@field max_side integer?  pixels of the longer side, at most
---@field max_pixels integer?  pixels in all, at most
---@field convert "jpeg"|"png"|"webp"|nil  its own of these unless given; PNG for drawings, else JPEG
---@field quality integer?  1 to 100 (85)
---@field orient boolean?  false: it stays as it lies
---@field animated boolean?  keeps all frames of a GIF or a WebP, as WebP

---@class lmm.VideoOptions : lmm.PartOptions
---@field frames integer?  so many pictures of it are sent, spread evenly; needs the program ffmpeg
---@field max_side integer?  pixels of their longer side, at most

---@class lmm.AudioOptions : lmm.PartOptions
---@field format string|true|nil  sends it as `input_audio`, in this format; true: as its bytes say
---@field convert "wav"|"flac"|"mp3"|nil  makes that of it, or of a film's sound; needs the program ffmpeg

---@class lmm.FileOptions : lmm.PartOptions
---@field filename string?  the source's own unless given

---@class lmm.PagesOptions : lmm.ImageOptions
---@field dpi number?  (150)
---@field first integer?  the first page to take, from 1
---@field last integer?  the last one
---@field password string?

-- ---- other endpoints

---@class lmm.EndpointOptions : lmm.CallOptions
---@field model string?
---@field [string] any  whatever else the server takes, by its names

---@class lmm.EmbedOptions : lmm.EndpointOptions
---@field dimensions integer?
---@field encoding_format "float"|"base64"|nil  "base64" makes replies smaller; they are numbers all the same

---@class lmm.TokenizeOptions : lmm.EndpointOptions
---@field add_special_tokens boolean?
---@field add_generation_prompt boolean?

---@class lmm.TranscribeOptions : lmm.EndpointOptions
---@field language string?
---@field prompt string?
---@field response_format "json"|"text"|"verbose_json"|"srt"|"vtt"|nil
---@field temperature number?
---@field timestamp_granularities string[]?
---@field stream boolean?  the server sends the text as it comes; the reply has all of it

---@class lmm.CompletionOptions : lmm.RequestOptions, lmm.RequestFields
---@field echo boolean?

---@class lmm.RerankOptions : lmm.EndpointOptions
---@field top_n integer?  only the best so many

-- ---- tasks and servers

---@class lmm.GatherOptions
---@field limit integer?  how many run at a time (16)

---@class lmm.ServeOptions
---@field command string[]  the words of the command; no shell. {port} in it is the port, else --port N is put behind it
---@field port integer?  a free one unless given
---@field ready_timeout number?  seconds that it may take to answer (600)
---@field log string?  the file that gets what it says; a temporary one unless given
---@field env table<string, string>?  more environment
---@field client lmm.ConnectOptions?  more options for `server.client`
---@field on_log (fun(line: string))?  called with each line that it says while it starts
---@field on_wait (fun(seconds: number))?  called while it is waited for

---@class lmm.MockOptions
---@field port integer?  a free one unless given
---@field delay number?  seconds between the pieces of a streamed answer (0.02)
---@field api_key string?  asked of every request; other users of this machine can see it, so invent one
---@field model string?  its name ("mock")
---@field max_model_len integer?  tokens of a prompt and its answer
---@field limit_image integer?  how many pictures a prompt may hold
---@field limit_video integer?
---@field limit_audio integer?
---@field like string?  the server that it is like, a dialect's name ("vllm")
---@field media_cache integer?  how many media it keeps under their uuids, where that server does (256)
---@field tools boolean?  false: it refuses tools, as vLLM does that was started without a parser
---@field capacity string?  "batching:64", "slots:1", "reject:8" or "collapse:32": how much it can do at a time
---@field record string?  a file that gets what passes between its clients and the server `upstream`
---@field upstream string?  the base URL of that server
---@field replay string?  such a file, from which requests are answered
---@field closest boolean?  a request that is not in it gets the answer to the one that is most like it, and no 404
---@field timing boolean?  an answer takes the time that it took
---@field interpreter string?  the `lua` to run it with, one that has luv, lua-cjson and luaossl

-- ---- JSON

--- What `lmm.json` is.
---@class lmm.Json
---@field null userdata  lmm.null
---@field decode fun(text: string, depth: integer?): any, string?  the value of a text, nested up to `depth` (1000); or
--- nil, and what is wrong with it where. An empty list is an lmm.array(), a null is lmm.null
---@field encode fun(value: any): string  the text of a value; raises where it has none
---@field array fun(items: table?): table  lmm.array

-- ---- Neovim

---@class lmm.NvimOptions : lmm.ConnectOptions
---@field system string?  the system message
---@field params lmm.RequestFields?  fields that go along with each request

---@class lmm.NvimAskOptions
---@field images string[]?  paths and URLs
---@field text string[]?  lines that go along
---@field below integer?  a line of the current buffer, counted from 1, below which the answer goes

---@class lmm.NvimReplaceOptions
---@field first integer  the first line to replace, counted from 1
---@field last integer
---@field images string[]?  paths and URLs
