printf '\377\376k\000i\000n\000d\000:\000' > wide.yaml
