-- What the control file promises; without the version, which every release changes.
SELECT schema, relocatable, superuser, trusted, requires
  FROM pg_available_extension_versions
 WHERE name = 'billing' AND installed;
