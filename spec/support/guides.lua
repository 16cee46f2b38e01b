--- What is written for users: README.md and the guides in doc.
--
-- In:  the files as they are in the checkout.
-- Out: their names, their blocks of code, their headings' anchors, their links.

local shell = require "spec.support.shell"

local M = {}

--- The paths of README.md and of all guides.
---@return string[]
function M.files()
  local files = { "README.md" }
  for path in shell.output "ls doc/*.md":gmatch "[^\n]+" do files[#files + 1] = path end
  return files
end

--- The blocks of code of a file, from its beginning on.
---@return { language: string, code: string, line: integer }[]
function M.blocks(path)
  local blocks, block = {}, nil
  local number = 0
  for line in (shell.read(path) .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local language = line:match "^```([%l ]*)$"
    if block and language then
      block.code = table.concat(block, "\n")
      blocks[#blocks + 1], block = block, nil
    elseif block then
      block[#block + 1] = line
    elseif language then
      block = { language = language, line = number + 1 }
    end
  end
  assert(not block, path .. ": a block of code is not closed")
  return blocks
end

--- The blocks of code of a file that are in one language.
---@return string[]
function M.code(path, language)
  local code = {}
  for _, block in ipairs(M.blocks(path)) do
    if block.language == language then code[#code + 1] = block.code end
  end
  return code
end

--- The text of a file without its blocks of code.
function M.words(path)
  return (("\n" .. shell.read(path)):gsub("\n```[%l ]*\n.-\n```", "\n"))
end

--- The anchors of a file's headings, as GitHub and others make them.
---@return table<string, true>
function M.anchors(path)
  local anchors = {}
  for heading in M.words(path):gmatch "\n#+ ([^\n]*)" do
    anchors[(heading:lower():gsub("[^%w%-_ ]", ""):gsub(" ", "-"))] = true
  end
  return anchors
end

--- The targets of a file's links that stay in the repository.
---@return string[]
function M.links(path)
  local links = {}
  for target in M.words(path):gmatch "%]%(([^)%s]+)%)" do
    if not target:find "^%a+:" then links[#links + 1] = target end
  end
  return links
end

return M
