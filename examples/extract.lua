-- The rows of receipts as CSV, each as soon as the model has written it:   lua5.4 examples/extract.lua RECEIPT.jpg...
-- The columns are the file, the item, how many, and the price in all. A receipt that could not be read to its end is
-- told on standard error, the rows that came stay, and the exit code is 1.
local lmm = require "lmm"

local RECEIPT = {
  type = "object", required = { "rows" }, additionalProperties = false,
  properties = {
    rows = {
      type = "array",
      items = {
        type = "object", required = { "item", "count", "price" }, additionalProperties = false,
        properties = {
          item = { type = "string" },
          count = { type = "integer" },
          price = { type = { "number", "null" }, description = "in all; null where it cannot be read" },
        },
      },
    },
  },
}

if #arg == 0 then
  io.stderr:write "usage: extract.lua RECEIPT...\n"
  os.exit(2)
end

--- A field of a CSV file (RFC 4180).
local function quote(value)
  local text = value == nil and "" or tostring(value)
  return text:find '[",\r\n]' and '"' .. text:gsub('"', '""') .. '"' or text
end

local function write_row(...)
  local fields = { ... }
  for i = 1, select("#", ...) do fields[i] = quote(fields[i]) end
  io.write(table.concat(fields, ","), "\r\n")
  io.flush()
end

local client, failed = lmm.connect(), false
write_row("file", "item", "count", "price")
for _, path in ipairs(arg) do
  local stream = client:conversation({ schema = RECEIPT, temperature = 0 })
    :stream("List every row of this receipt.", lmm.image(path))
  local ok, message = pcall(function()
    for row in stream:elements "rows" do write_row(path, row.item, row.count, row.price) end
  end)
  if not ok then
    failed = true
    io.stderr:write(path, ": ", message, "\n")
  end
end
os.exit(failed and 1 or 0)
