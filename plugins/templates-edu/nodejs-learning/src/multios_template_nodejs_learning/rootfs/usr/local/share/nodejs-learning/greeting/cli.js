#!/usr/bin/env node
const greeting = require('./index.js')

for (const name of process.argv.slice(2)) {
  console.log(greeting(name))
}
