--- lmm: talk to multimodal models on OpenAI-compatible servers. This file is the public face.
--
--     local lmm = require "lmm"
--     local chat = lmm.connect("http://127.0.0.1:8000/v1"):conversation()
--     print(assert(chat:ask("What is shown in the image?", lmm.image "picture.jpg")))
--
-- Each module, the C ones among them, is loaded with its first use, so that requiring this one costs next to nothing.

---@class lmm
---@field version string  of the library
---@field null userdata   stands for a JSON null in a request, and in a reply's `raw`
---@field json lmm.Json   decodes and encodes JSON exactly
local lmm = { version = require("lmm.version").number }

--- Makes a client; asks nobody yet. See lmm.Client.
---@param opts string|lmm.ConnectOptions|nil  a base URL, or a table of options, or nothing: the environment
---@return lmm.Client
function lmm.connect(opts, ...)
  if select("#", ...) > 0 and next { ... } ~= nil then
    require("lmm.errors").misuse "lmm.connect takes one argument: { base_url = \"...\", ... }"
  end
  require "lmm.compiled" -- by which the others are found
  return (require("lmm.client").new(opts))
end

--- Reads the servers and models that the user has given names: `$XDG_CONFIG_HOME/lmm/config.lua` (or `.json`), or the
--- file at a path. Nothing else in the library looks for it.
---
---     local client, params = assert(lmm.config()):connect "fast"
---     local chat = client:conversation(params)
---@param path string?
---@return lmm.Config? config, string? message, lmm.Error? err
function lmm.config(path)
  local errors = require "lmm.errors"
  if path ~= nil and type(path) ~= "string" then errors.misuse("lmm.config takes a path, not a %s", type(path)) end
  return errors.public(require("lmm.config").load(path))
end

--- Makes an image part of a path, a URL or `{ bytes = ... }`; or of nil and the uuid of what the server has kept.
---
--- Where one of the options from `max_side` on is given, the picture is prepared when it is first sent, which needs
--- lmm.vips (libvips): it goes upright, in sRGB of 8 bit, and without metadata. `part.mime`, `width` and `height` say
--- what it will be; `part.converted` is its own type where that becomes another. Without any of them this happens to
--- what would not be decoded: to SVG, EPS and JPEG XL, which no server takes, and to types that the server is known not
--- to take. An EPS is drawn by the program Ghostscript.
---@param source string|lmm.Bytes|nil
---@param opts lmm.ImageOptions?
---@return lmm.Part  always; where it cannot be sent its `err` says why, and `ask` gives that error
function lmm.image(source, opts)
  return (require("lmm.part").make("image", source, opts))
end

--- Makes a video part. See lmm.image. `{ frames = { ... }, fps = 2 }` makes one of pictures of one size, each a path,
--- `{ bytes = ... }` or an image part, which go in one URL (vLLM's video/jpeg; it takes 32 unless told otherwise), or
--- as pictures to a server that is known to take none; options of lmm.image, as `max_side`, prepare those that are no
--- parts yet.
---
--- With `frames = 8` so many pictures of a film are sent in this form, spread evenly over it, no side longer than
--- `max_side`; the program ffmpeg takes them when the part is first sent.
---@param source string|lmm.Bytes|lmm.Frames|nil
---@param opts lmm.VideoOptions?
---@return lmm.Part
function lmm.video(source, opts)
  if type(source) == "table" and source.frames ~= nil then return (require("lmm.frames").make(source, opts)) end
  return (require("lmm.part").make("video", source, opts))
end

--- Makes an audio part. See lmm.image. With `convert = "wav"`, "flac" or "mp3" the program ffmpeg makes that of it,
--- or of a film's sound, when the part is first sent.
---@param source string|lmm.Bytes|nil
---@param opts lmm.AudioOptions?  `format` ("wav", "mp3", ...) sends it as `input_audio`, as OpenAI itself and
--- llama-server take it
---@return lmm.Part
function lmm.audio(source, opts)
  return (require("lmm.part").make("audio", source, opts))
end

--- Makes a part of any file, a PDF for one, in the form of OpenAI's API. See lmm.image.
---@param source string|lmm.Bytes
---@param opts lmm.FileOptions?
---@return lmm.Part
function lmm.file(source, opts)
  return (require("lmm.part").make("file", source, opts))
end

--- Makes image parts of a PDF's pages, each drawn when it is first sent, which needs lmm.vips (libvips). The PDF is
--- opened at once, for how many pages it has; of more than 1,000 say which, by `first` and `last`.
---@param source string|lmm.Bytes
---@param opts lmm.PagesOptions?  what is not of pages is as lmm.image takes it, for each of them; `mime`, `check` and
--- `uuid` are not taken
---@return lmm.Part[]? pages, string? message, lmm.Error? err
function lmm.pages(source, opts)
  return require("lmm.pages").open(source, opts)
end

--- Makes a form, which client:request and client:events send as multipart/form-data, the bytes of its parts read as
--- they are sent: `lmm.form { file = lmm.file "speech.wav", model = "m" }`. Values are texts, numbers, booleans, parts
--- that have bytes, and lists of these, each item of which is a field of that name. Fields go in the order of their
--- names; a list of `{ name, value }` keeps an order of its own.
---@param fields table<string, any>|{ [1]: string, [2]: any }[]
---@return lmm.Form
function lmm.form(fields)
  return (require("lmm.form").new(fields))
end

--- Makes a retry policy, to be given as `retry` to a client or a call.
---@param opts lmm.Retry?  a table of what differs from the defaults; a function `(attempt, err)`, asked after every
--- failure, that gives seconds or nil; false: try once; true: the defaults
---@return lmm.Retry
function lmm.retry(opts)
  return (require("lmm.call").retry(opts))
end

--- Runs `fn` as a task, begun at once up to its first wait. `done(ok, ...)` gets what `pcall` would give, and so does
--- whoever calls `task:wait()`. What it raises, unless it was cancelled, is reported once where nobody can get it any
--- more: without `done`, once the task has been collected, at the latest as the program ends (to stderr, by
--- `vim.notify`, or in nginx's error log).
---@param fn fun(): any
---@param done fun(ok: boolean, ...)?
---@return lmm.Task
function lmm.go(fn, done)
  return (require("lmm.loop").go(fn, done))
end

--- Runs functions as tasks, some at a time, and waits for all.
---@param fns (fun(): any)[]
---@param opts lmm.GatherOptions?
---@return any[]? results, table|string errors, lmm.Error? err  both by the index in `fns`, the errors being error
--- objects; nil, a message and an error where its task was cancelled
function lmm.gather(fns, opts)
  return require("lmm.loop").gather(fns, opts)
end

--- Runs `fn(item, client)` for each item as tasks, a number of them at a time that finds itself, in constant memory.
--- With `output` what each row gave is kept in a file of JSON lines, and the same call goes on from there however it
--- ended. Where `fn` raises, the rows that run are cancelled, lmm.map raises the same, and the next call runs that row
--- again: a failure of one row is what `fn` returns as nil and a message.
---@param items any[]|string|(fun(): any)  a list, the path of a file of JSON lines, or a function that gives the next
--- item
---@param fn fun(item: any, client: lmm.Client): any  returns a reply, or any value; nil and a message for a failure
---@param opts lmm.MapOptions?
---@return lmm.MapSummary? summary, string? message, lmm.Error? err  an error where the run ended early; `err.summary`
--- tells how far it came
function lmm.map(items, fn, opts)
  return require("lmm.bulk").map(items, fn, opts)
end

--- Waits until all tasks have ended, those that they begin meanwhile too: the end of a program that has begun some.
--- Raises in a task. In Neovim the editor goes on meanwhile; in nginx it waits for the tasks of this request.
function lmm.run()
  require("lmm.loop").run()
end

--- Names the loop to wait in, first of all: lmm.connect takes one, too.
---@param loop "luv"|"blocking"|"nvim"|"nginx"|lmm.Loop
function lmm.use(loop)
  require("lmm.loop").use(loop)
end

--- Marks a table as an array, so that it is sent as `[]` when it is empty.
---@param items table?  a new one unless given
---@return table
function lmm.array(items)
  return require("lmm.json").array(items)
end

--- Starts a model server as a child process and waits until it answers. See lmm.Server.
---@param opts lmm.ServeOptions
---@return lmm.Server? server, string? message, lmm.Error? err
function lmm.serve(opts)
  return require("lmm.server").start(opts)
end

--- Starts the built-in server that needs no model, as a child process, and waits until it listens. It answers every
--- chat request with what it received; a line `call NAME {"argument": 1}` of a question calls a tool of the request,
--- and a request's own field `mock` asks it for faults.
---@param opts lmm.MockOptions?
---@return lmm.MockServer? server, string? message, lmm.Error? err
function lmm.mock(opts)
  return require("lmm.mock").start(opts)
end

--- `lmm.null` stands for a JSON null in a request, and in a reply's `raw`; `lmm.json` decodes and encodes exactly.
setmetatable(lmm, { __index = function(_, name)
  if name ~= "json" and name ~= "null" then return nil end
  local json = require "lmm.json"
  lmm.null = json.null
  lmm.json = { decode = json.decode, encode = json.encode, null = json.null, array = json.array }
  return rawget(lmm, name)
end })

return lmm
