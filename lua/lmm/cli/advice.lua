--- Advice in the shell's words: a message with the library's advice in it comes in; one for who types commands goes
--- out.

local advice = {}

local OTHER_MEDIUM = " (-a takes any medium, -i only pictures)"

--- What the library says, and what the command says in its place; `is_pattern`: both are Lua patterns.
local rows = {
  { 'load with media = { %[(".-")%] = "its new folder" }', [[add -p 'media={%1:"its new folder"}']],
    is_pattern = true },
  { "answer it by chat:result(call, value), have its tool run by chat:tool and chat:ask, or take the whole exchange "
    .. "back by chat:undo()", "have its tool run by lmm ask --continue FILE --tool FILE.lua </dev/null" },
  { "answer it by chat:result(call, value), or give its tool by chat:tool", "give its tool by --tool" },
  { "pass api_key, or set OPENAI_API_KEY", "set $OPENAI_API_KEY" },
  { "does not take the key that was sent", "does not take the key in $OPENAI_API_KEY" },
  { "client:models(), or lmm models, lists", "lmm models lists" },
  { "timeout.total sets this limit", "--timeout sets this limit" },
  { "timeout.first sets this limit", "-p 'timeout={\"first\":SECONDS}' sets this limit" },
  { "timeout.idle sets this limit", "-p 'timeout={\"idle\":SECONDS}' sets this limit" },
  { "timeout.connect sets this limit", "-p 'timeout={\"connect\":SECONDS}' sets this limit" },
  { "max_rounds sets this limit", "-p max_rounds=N sets this limit" },
  { "max_repairs sets this limit", "-p max_repairs=N sets this limit" },
  { "chat:save writes one", "--save writes one" },
  { "see client:transcribe", "see lmm transcribe" },
  { "name the model", "name the model: -m NAME" },
  { "lower max_tokens", "lower -p max_tokens=N" },
  { "raise max_tokens", "raise -p max_tokens=N" },
  { "lmm.array {} is an empty list", "an empty list is -p 'NAME=[]'" },
  { "proxy = \"http://user:password@host:port\"", "$http_proxy or $https_proxy: http://user:password@host:port" },
  { "tls.ca: name the file of the authority's certificate", "add the authority's certificate to the system's" },
  { ": lmm.audio takes it (pass { mime = \"image/...\" } as options if you know better)", OTHER_MEDIUM },
  { ": lmm.video takes it (pass { mime = \"image/...\" } as options if you know better)", OTHER_MEDIUM },
  { ": lmm.file takes it (pass { mime = \"image/...\" } as options if you know better)", OTHER_MEDIUM },
  { 'lmm.pages draws its pages, lmm.file takes it (pass { mime = "image/..." } as options if you know better)',
    "--page 1-3 draws its pages, -a takes any medium" },
  { "since the part was made: make the part again", "since it was looked at: run the command again" },
  { "read it and pass { bytes = ... }, or '-' to lmm ask", "give what it holds on the standard input, as -" },
  { "read it and pass { bytes = ... }", "download it, and give that file" },
  { "the pages of a PDF as pictures, by lmm.pages", "the pages of a PDF as pictures, by --page 1-3" },
  { "(pass { mime = \"image/...\" } as options if you know better)", OTHER_MEDIUM:sub(2) },
  { 'pass { convert = "wav" } to lmm.audio (mime or check = false sends it as it is)', "convert it to WAV or FLAC" },
  { " (mime or check = false sends it as it is)", "" },
  { ": check = false takes what there is of it", "" },
  { "pass { first =, last = }", "--page 1-100, say" },
  { 'pass { password = "..." }', "qpdf --decrypt --password=WORD FILE COPY makes a copy without" },
  { "draw it with a smaller dpi", "pdftoppm -r 50 -png FILE NAME draws it smaller" },
  { "pass a smaller max_side", "give a smaller --max-side" },
  { "pass a larger max_side", "give a larger --max-side" },
  { " (check = false sends it as it is)", "" },
}

local function translate(text)
  for _, row in ipairs(rows) do
    local start, stop = text:find(row[1], 1, not row.is_pattern)
    if start then
      local words = row.is_pattern and text:sub(start, stop):gsub(row[1], row[2]) or row[2]
      return text:sub(1, start - 1) .. words .. text:sub(stop + 1)
    end
  end
  return text
end

--- The message for the shell. A server's own words stay as they are: beside a hint, only that is looked at.
---@param message string
---@param err lmm.Error?  nil where the command was called wrongly
---@return string
function advice.of(message, err)
  if not err or err.kind == "invalid" and not err.hint then return translate(message) end
  if not err.hint then return message end
  local hint = " (" .. err.hint .. ")"
  if message:sub(-#hint) ~= hint then return message end
  return message:sub(1, -#hint - 1) .. translate(hint)
end

return advice
