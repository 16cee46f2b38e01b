-- limits.lua: what `make check-cost` counted when run with UPDATE=1, which writes this file; 5 % more fail.
return {
  tools = "x86_64, Lua 5.4.4, gcc 12, libcurl 7.88.1, glibc 2.36",
  ["an ask"] = { ["instructions"] = 364631.51, ["allocations"] = 138.32, ["system calls"] = 6 },
  ["an ask of a conversation"] = { ["instructions"] = 454975.88, ["allocations"] = 178.42, ["system calls"] = 6 },
  ["10,000 events"] = { ["instructions"] = 109925160, ["allocations"] = 10060 },
  ["base64 of 1 MiB"] = { ["instructions"] = 2337152 },
}
