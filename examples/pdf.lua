-- Questions to a PDF, for models that take pictures: its pages are drawn when they are sent.
--   lua5.4 examples/pdf.lua report.pdf [FIRST [LAST [QUESTION]]]
-- Needs lmm.vips.
local lmm = require "lmm"

local function give_up(message)
  io.stderr:write(message, "\n")
  os.exit(1)
end

local path, first, last, question = arg[1], tonumber(arg[2]) or arg[2], tonumber(arg[3]) or arg[3], arg[4]
if not path then give_up "usage: lua examples/pdf.lua report.pdf [FIRST [LAST [QUESTION]]]" end

local is_asked, pages, problem = pcall(lmm.pages, path, { first = first, last = last, dpi = 150, max_side = 1568 })
if not is_asked then give_up((pages:gsub("^.-: lmm: ", ""))) end -- no such numbers
if not pages then give_up(problem) end

-- One page after the other: a long document is more than a model takes at once.
local client = lmm.connect()
for i, page in ipairs(pages) do
  local reply, message = client:conversation():ask(question or "What does this page say, in one sentence?", page)
  if not reply then give_up(message) end
  print(("page %d: %s"):format((first or 1) + i - 1, (reply.text:gsub("%s+", " "))))
end
